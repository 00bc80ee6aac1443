# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Tables of many runs, and benchmarks of speed. Needs the extra `eval`."""
