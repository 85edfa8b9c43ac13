"""The REST interface of MONAI Label, as the plug-ins of 3D Slicer and OHIF speak it, over a dataset and its server.

Its calls and fields: https://docs.monai.io/projects/label, the endpoints and the client module of its release 0.8.5.
"""
