import atexit
import gc
import os
import sys
import threading

gc.set_threshold(100_000, 20, 100)  # what is imported stays: looking for garbage in it is a tenth of a preview

from engine.cli import main  # noqa: E402

code = main()
# End as the interpreter does, but without taking every module apart, another tenth.
threading._shutdown()  # type: ignore[attr-defined]
atexit._run_exitfuncs()
try:
    sys.stdout.flush()
    sys.stderr.flush()
except BrokenPipeError:
    code = code or 1
os._exit(code)
