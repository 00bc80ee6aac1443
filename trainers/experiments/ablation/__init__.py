# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of pretraining runs with equal training and equal evaluations. Needs the extra `eval`."""
