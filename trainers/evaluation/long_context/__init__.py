# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Long documents: retrieval and questions, by concepts and by tokens. Needs the extra `eval`."""
