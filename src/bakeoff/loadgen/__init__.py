"""Sends load to a server and says what may be believed of the answer, after MLPerf LoadGen's definitions.

Does: open-loop (Poisson) and closed-loop requests from a process of their own, intended and actual send times, VALID or INVALID with
advice, the highest rate that keeps a limit, the client's own floor on a null server.
Does not know: how the server computes, HTTP/2, more than one client machine.
"""
