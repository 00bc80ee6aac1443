# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Cost of concept models compared with BERT, ModernBERT, Perceiver and the original implementation."""
