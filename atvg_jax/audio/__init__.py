"""Audio front ends, a file each; `front_ends` names them and says what each is."""
