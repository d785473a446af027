//! A service's sandbox in words.
