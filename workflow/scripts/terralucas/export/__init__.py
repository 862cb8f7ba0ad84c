"""Write the selected models in formats that others can use without this project, and check that all of them agree."""
