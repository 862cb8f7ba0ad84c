"""Check before training that every loss, decoder, tuning and normalisation of a study is a treatment of its own."""
