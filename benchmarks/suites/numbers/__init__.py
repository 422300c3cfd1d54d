"""What float16 and int8 cost in accuracy and save in time and bytes."""
