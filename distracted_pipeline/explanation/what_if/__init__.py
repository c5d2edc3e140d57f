"""What if the frame were another one: altered frames and masks, looked at again by networks that stay as they are."""
