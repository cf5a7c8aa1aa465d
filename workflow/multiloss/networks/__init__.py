"""Networks, and what trains and runs them. TensorFlow runs here, in `losses` and `gradcam.maps`."""
