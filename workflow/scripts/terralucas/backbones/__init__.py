"""The pre-trained encoders: their weights, their construction, and the features a frozen one computes."""
