"""Attention heads one by one."""
