"""The service: plans over HTTP, jobs that survive, keys, and what operators need."""
