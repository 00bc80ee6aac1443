# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What concept models cost beside BERT, ModernBERT, Perceiver and the original's way of writing them."""
