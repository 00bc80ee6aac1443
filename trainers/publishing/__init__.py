# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Model cards and the Hub."""
