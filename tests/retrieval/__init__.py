# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Search: documents as C vectors, in an index."""
