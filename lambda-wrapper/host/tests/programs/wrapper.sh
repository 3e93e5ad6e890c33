#!/bin/sh
# An exec wrapper: it adds a variable, and becomes the runtime.
ADDED=by-the-wrapper exec "$@"
