//! Programs of packages of their own: `tests/fixtures`, built by cargo when a test first asks for one.
