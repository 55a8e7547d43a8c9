//! BER-TLV as cards use it (ISO 7816-4 §5.2.2): read with bounds, written with the shortest lengths.
