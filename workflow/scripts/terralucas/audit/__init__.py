"""Check before training that all losses, decoders, tunings and normalisations of a study have different effects."""
