"""How PyTorch's threads wait for each other: imported before PyTorch, which reads it once.

GNU's OpenMP lets a thread spin for milliseconds before it sleeps, unless told otherwise. Where
other programs are busy too, a spinning thread keeps the one that it waits for from its core.
"""

import os

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "3000"
