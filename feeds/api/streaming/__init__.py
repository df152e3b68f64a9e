"""Events as they happen, over Server-Sent Events and WebSocket: an ASGI application with a process of its own.

streams.py says which streams there are, and who may listen to them; listener.py is a connection that does; hub.py knows who
listens here, and brings each event to them; doors.py are the routes.
"""
