//! Durable and peer formats, and the HTTP API's types.
