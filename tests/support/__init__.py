"""What tests of several folders use: servers, clients, recordings, clocks."""
