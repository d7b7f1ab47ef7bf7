"""Parts of the Overview page: saved services, what was decided, what needs attention, and what can be done."""
