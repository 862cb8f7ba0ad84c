"""Choose a recipe of a finished study, and gather its models with what predictions on new chips need."""
