"""What this machine can do, what is missing, and how to mend it. Trainings are tried in processes of their own."""
