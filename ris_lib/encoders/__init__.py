"""Image and text encoders, cut into stages so that fusion can enter between them."""
