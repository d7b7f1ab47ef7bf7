"""Parts of the History page: the list of plans, one plan, two compared."""
