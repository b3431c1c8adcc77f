"""Moving in from an Orthanc: over its REST API, or out of its folders; and what its configuration says."""
