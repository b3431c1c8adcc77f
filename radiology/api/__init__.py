"""What every REST API here shares: parameters, pages, problems, documentation."""
