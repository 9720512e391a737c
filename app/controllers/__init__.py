"""What happens when the window asks for something: operations run on lanes, results go into the view-models. No Qt."""
