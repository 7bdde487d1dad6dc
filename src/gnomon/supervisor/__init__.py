"""The parent of all processes: starts, watches, restarts, reaps. Small and boring.

supervisor  the loop: signals, start, stop
children    the processes there are one of: nursery, front, control plane
hosts       the model hosts, kept running until they are stopped
nursery     asks the nursery for forks
orders      what the control plane may ask for, over a unix socket
client      the other end of `orders`
backoff     when a process that died is started again (pure)
"""
