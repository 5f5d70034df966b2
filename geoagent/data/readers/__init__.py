"""Published datasets → dataset folders (`geoagent data prepare`).

`sources` knows what publishers call their files and columns, `formats` reads the files, `fields`
and `places` make records of their rows, `images` finds, checks and writes images, `plan` decides
how a dataset is read, `batches` reads it, `output` keeps what is unfinished, `prepare` does it all.
"""
