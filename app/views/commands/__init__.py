"""The one table of actions, a file an area: toolbar, menus, shortcuts and help all derive from it."""
