"""Parts of the serving page: controls that change a spec, and what is shown of its plan."""
