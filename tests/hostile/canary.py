"""A class that a pickle can misuse in every way: whatever runs of it leaves a folder behind."""

import os


class Canary:
    """Makes the folder that it is given when it is made, called or set."""

    def __new__(cls, path=None, **options):
        made = super().__new__(cls)
        for place in (path, *options.values()):
            if place is not None:
                os.mkdir(place)
        return made

    def __setstate__(self, path):
        os.mkdir(path)
