"""Train, evaluate, predict."""
