"""Rows of servers, simulated second by second under capping policies."""
