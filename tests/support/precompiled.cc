// The owner of the precompiled header has a source of its own, so that no test depends on another
// one.
