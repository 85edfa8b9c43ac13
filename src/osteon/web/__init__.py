"""What the server for programs and the browser app share: connections and uploads that would hold others up."""
