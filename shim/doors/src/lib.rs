//! HTTP doors: the native API.
