"""Python runs this by itself where it finds it on PYTHONPATH: it starts processes as TERRALUCAS_START_METHOD says."""

import multiprocessing
import os

multiprocessing.set_start_method(os.environ["TERRALUCAS_START_METHOD"])
