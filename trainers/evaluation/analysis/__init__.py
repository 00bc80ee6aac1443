# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Analysis of the concepts of a checkpoint: geometry, attention, probes, compression, decision gates."""
