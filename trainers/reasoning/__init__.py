# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Generated problems whose answers take a known number of steps, and networks that learn to answer them."""
