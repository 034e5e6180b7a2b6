"""Packages that were added to the image: where they are, and what they want to find set."""

# ruff: noqa: ANN201  annotations cost start time; types are plain

import os
import sys

FOLDER = "/opt/packages"  # there in images that have any

ENVIRONMENT = {
    # They would start a thread for each processor of the host, however few the guest may use;
    # where that is more than it may have, importing numpy ends in a KeyboardInterrupt.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_MAX_THREADS": "1",
    # For what they cache and configure; not every user of a guest has a home of its own.
    "HOME": "/tmp",  # noqa: S108  the guest's own
}


def offer_packages():
    """Let imports find the packages of this image, behind everything else, if it has any."""
    if os.path.isdir(FOLDER):  # noqa: PTH112  pathlib takes a while to import
        sys.path.append(FOLDER)
        os.environ.update(ENVIRONMENT)
