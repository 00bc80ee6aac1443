# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What the other rooms share: command line, errors, folders, processes."""
