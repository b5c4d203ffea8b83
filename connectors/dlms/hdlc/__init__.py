"""The HDLC data link of a DLMS client, IEC 62056-46: frames, finding them in a stream, and the station that uses them."""
