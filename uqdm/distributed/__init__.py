"""Folders of pictures: what is to be done, and who does it, from the cores of a laptop to a cluster.

    work         which file becomes which, in batches of equal sizes; one batch is done by one function of plain values
    processes    one process per core of this machine
    ray_data     Ray Data, on this machine or a cluster (`pip install 'uqdm[ray]'`)

Files are independent: whoever does a batch writes its files, whole or not at all, and tells what became of each. What
is there already is done; a run that was killed goes on where it stopped. A stream is the same whoever made it.
"""
