"""Load profiles and event logs: Profile Generic, class 7, IEC 62056-6-2 clause 4.3.6."""
