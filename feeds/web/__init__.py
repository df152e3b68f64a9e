"""Pages for people, made on the server: to sign in, and to let an application in. They work without JavaScript."""
